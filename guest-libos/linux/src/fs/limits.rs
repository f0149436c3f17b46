//! Every bound of the file system, in one table: what a hostile program can make the library OS hold.

/// Bytes of a path, its terminating NUL included (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// Bytes of one component of a path (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Symbolic links followed in one walk, after which it is `ELOOP` (Linux's `MAXSYMLINKS`).
pub const MAX_SYMLINKS: usize = 40;
/// Most descriptors that the process may allow itself (the hard limit of `RLIMIT_NOFILE`).
pub const MAX_DESCRIPTORS: usize = 4096;
/// Descriptors that it has unless it asks for others (the soft limit).
pub const DESCRIPTORS: usize = 1024;
/// Inodes at once, those of the bundle, pipes and other objects without a name included.
pub const MAX_INODES: usize = 1 << 18;
/// Names of one inode (ext4's bound).
pub const MAX_LINKS: u32 = 65_000;
/// Bytes of one read or write (Linux's `MAX_RW_COUNT`).
pub const MAX_TRANSFER: usize = 0x7fff_f000;
/// Bytes that a pipe holds.
pub const PIPE_CAPACITY: usize = 64 << 10;
/// Bytes that are written into a pipe in one piece or not at all (`PIPE_BUF`).
pub const PIPE_ATOMIC: usize = 4096;
/// Pipes at once: together they hold at most 16 MiB.
pub const MAX_PIPES: usize = 256;
/// Descriptors that one epoll instance watches.
pub const MAX_INTERESTS: usize = 4096;
/// What each of these costs, in bytes, roughly.
pub const INTEREST_COST: usize = 96;
/// Largest chunk of a file's storage, in bytes. Small files hold less: a chunk grows by doubling.
pub const CHUNK: usize = 64 << 10;
/// Smallest chunk of a file's storage, in bytes.
pub const MIN_CHUNK: usize = 256;
/// What an entry of a directory costs besides its name, in bytes: two tree nodes, roughly.
pub const ENTRY_COST: usize = 96;
/// What an inode costs besides its contents, in bytes, roughly.
pub const INODE_COST: usize = 256;
/// Bytes of one generated file, such as /proc/self/maps.
pub const MAX_GENERATED: usize = 4 << 20;
/// Bytes that one call of `sendfile` or `copy_file_range` moves: more is a short count, which callers must expect.
pub const MAX_COPY: usize = 16 << 20;
