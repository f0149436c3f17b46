//! Files, streams and threads of Rust's standard library, in the directory that the first argument names.
use std::{
    env, fs,
    io::{self, BufRead, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::mpsc,
    thread,
};

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).expect("a directory");
    env::set_current_dir(&directory)?;
    for (at, line) in io::stdin().lock().lines().enumerate() {
        println!("line {at}: {}", line?);
    }
    let mut file = fs::File::options().read(true).write(true).create(true).truncate(true).open("numbers")?;
    for number in 0..20_000_u32 {
        file.write_all(&number.to_le_bytes())?;
    }
    file.seek(SeekFrom::Start(40_000))?;
    let mut word = [0; 4];
    file.read_exact(&mut word)?;
    println!("{} bytes, one is {}", file.metadata()?.len(), u32::from_le_bytes(word));
    fs::create_dir_all("deep/er")?;
    for name in ["b", "a", "c"] {
        fs::write(Path::new("deep/er").join(name), name.repeat(3))?;
    }
    fs::rename("deep/er/c", "deep/d")?;
    fs::copy("deep/d", "deep/copy")?;
    let mut names: Vec<_> = fs::read_dir("deep")?.map(|entry| entry.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    names.sort();
    println!("{names:?}, {:?}", fs::read_to_string("deep/copy")?);
    println!("{:?}", fs::read_to_string("deep/nothing").map_err(|error| error.kind()));
    fs::remove_dir_all("deep")?;
    let (mut read, mut write) = io::pipe()?;
    let (tell, told) = mpsc::channel();
    let writer = thread::spawn(move || {
        // More than a pipe holds, so that each waits for the other.
        write.write_all(&vec![7; 300_000]).expect("there is a reader");
        tell.send("written").expect("someone listens");
    });
    let mut all = Vec::new();
    read.read_to_end(&mut all)?;
    writer.join().expect("the writer ends");
    println!("{} bytes through a pipe, {:?}", all.len(), told.recv());
    for name in env::args().skip(2) {
        fs::create_dir_all(Path::new(&name).parent().expect("a directory"))?;
        fs::write(&name, format!("{name}\n"))?;
    }
    Ok(())
}
