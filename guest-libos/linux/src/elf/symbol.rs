//! Names of a program's functions, for reports.

use object::{Object, ObjectSymbol, SymbolKind, read::elf::ElfFile64};

/// The function that holds `address`, which is one of the file's own, and how far in it lies. A look at each symbol: for
/// a program that has ended.
#[must_use]
pub fn symbol(file: &[u8], address: u64) -> Option<(&str, u64)> {
    let file = ElfFile64::<object::Endianness, &[u8]>::parse(file).ok()?;
    let functions = file.symbols().chain(file.dynamic_symbols()).filter(|symbol| symbol.kind() == SymbolKind::Text);
    let holds = |start: u64, size: u64| address >= start && address - start < size.max(1);
    let found = functions.filter(|symbol| holds(symbol.address(), symbol.size())).max_by_key(ObjectSymbol::address)?;
    Some((found.name().ok()?, address - found.address()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_finds_itself() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let parsed = ElfFile64::<object::Endianness, &[u8]>::parse(&*file).unwrap();
        let main = parsed.symbols().find(|symbol| symbol.name() == Ok("main")).unwrap();
        assert_eq!(symbol(&file, main.address() + 1), Some(("main", 1)));
        assert_eq!(symbol(&file, u64::MAX), None);
        assert_eq!(symbol(b"no ELF", 1), None);
    }
}
