//! What a node leaves on the disk when it has ended.

use denali_protocol::digest::Digest;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{collections::BTreeMap, fs, path::Path};

/// As the store names it: output files that results refer to, and their length.
const OUTPUT_FILES: TableDefinition<'_, &str, u64> = TableDefinition::new("output files");

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
}

/// The database is whole; files hold what they are named for; outputs are those of results; and there is nothing else.
pub(super) fn check(data: &Path) {
    let mut database = Database::open(data.join("store.redb")).expect("the store opens");
    assert!(database.check_integrity().expect("it can be read"), "the store is not whole");
    for directory in ["bundles", "inputs"] {
        for name in names(&data.join(directory)) {
            let bytes = fs::read(data.join(directory).join(&name)).expect("a file");
            assert_eq!(Digest::of(&bytes).to_string(), name, "in {directory}");
        }
    }
    let length = |name: String| {
        let bytes = fs::metadata(data.join("outputs").join(&name)).expect("a file").len();
        (name, bytes)
    };
    let there: BTreeMap<_, _> = names(&data.join("outputs")).into_iter().map(length).collect();
    let read = database.begin_read().expect("it can be read");
    let table = read.open_table(OUTPUT_FILES).expect("the table");
    let row = |row: Result<(redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, u64>), _>| {
        let (name, bytes) = row.expect("a row");
        (name.value().to_owned(), bytes.value())
    };
    assert_eq!(there, table.iter().expect("it can be read").map(row).collect());
    assert_eq!(names(&data.join("tmp")), Vec::<String>::new());
    let mut all = names(data);
    all.sort();
    assert_eq!(all, ["bundles", "inputs", "lock", "node.key", "outputs", "store.log", "store.redb", "tmp"]);
}
