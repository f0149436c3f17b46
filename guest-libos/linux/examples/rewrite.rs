//! Says what the rewriter makes of programs: `cargo run --release --example rewrite -- FILE…`.

use std::time::Instant;

use denali_linux::rewrite::{Functions, Handlers, Reason, StubArea, Text, plan};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Object, ObjectSection, ObjectSymbol, elf};

type Facts = fn(&ElfFile64<'_>) -> Functions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let data = std::fs::read(&path)?;
        let file = ElfFile64::<object::Endianness>::parse(&*data)?;
        let facts: [(_, Facts); 3] = [("tables", tables), ("symbols", symbols), ("nothing", |_| Functions::unknown())];
        for (name, functions) in facts {
            let start = Instant::now();
            let functions = functions(&file);
            print!("{name} in {:?}: ", start.elapsed());
            show(&path, &file, &data, &functions)?;
        }
    }
    Ok(())
}

fn section<'d>(file: &ElfFile64<'d>, name: &str) -> (u64, &'d [u8]) {
    let section = file.section_by_name(name);
    section.map_or((0, &[]), |section| (section.address(), section.data().unwrap_or_default()))
}

fn tables(file: &ElfFile64<'_>) -> Functions {
    let go = Functions::from_go_table(section(file, ".gopclntab").1);
    let (address, frames) = section(file, ".eh_frame");
    if go.is_empty() { Functions::from_unwind_tables(address, frames) } else { go }
}

fn symbols(file: &ElfFile64<'_>) -> Functions {
    let code = file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.is_definition());
    Functions::new(code.filter_map(|symbol| Some(symbol.address()..symbol.address().checked_add(symbol.size())?)))
}

fn show(path: &str, file: &ElfFile64<'_>, data: &[u8], functions: &Functions) -> Result<(), &'static str> {
    let endian = file.endian();
    for segment in file.elf_program_headers() {
        if segment.p_type(endian) != elf::PT_LOAD || segment.p_flags(endian) & elf::PF_X == elf::ProgramFlags(0) {
            continue;
        }
        let bytes = segment.data(endian, data).map_err(|()| "segment out of file")?;
        let text = Text::new(segment.p_vaddr(endian), bytes).ok_or("not in user space")?;
        let area = StubArea::new(0x1000_0000, 1 << 20).ok_or("area")?;
        let best = (0..5).map(|_| {
            let start = Instant::now();
            let rewrite = plan(text, functions, area, Handlers { syscall: 0x20_0000, cpuid: 0x20_0040 });
            (start.elapsed(), rewrite)
        });
        let (time, rewrite) = best.min_by_key(|(time, _)| *time).ok_or("no run")?;
        let report = &rewrite.report;
        println!(
            "{path}, {} KiB: {} of {} patched ({} cpuid), {} false, {time:?}",
            bytes.len() / 1024,
            report.patched(),
            report.sites(),
            report.cpuids,
            report.false_sites
        );
        for refused in report.refused.iter().filter(|refused| refused.reason != Reason::SignalReturn) {
            println!("  {:#x} {:?} {:?}", refused.address, refused.trap, refused.reason);
        }
    }
    Ok(())
}
