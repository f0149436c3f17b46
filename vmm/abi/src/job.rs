//! The job channel: UDP datagrams between the VM and [`PORT`] of its gateway, one message each.
//!
//! A message is a header of eight bytes ([`KIND`] byte, zero byte, name length as `u16`, four zero bytes), the name, and
//! the payload. Only FILE has a name. The link is lossless and in order, so no message is numbered or acknowledged. UDP
//! checksums are optional, as IPv4 allows: nothing on the way can flip a bit.
//!
//! | kind | to | payload |
//! |---|---|---|
//! | [`ARGUMENTS`] | VM | the first message: number of arguments as `u32`, then each as length (`u32`) and UTF-8 bytes |
//! | [`INPUT`] | VM | the next bytes of the input |
//! | [`INPUT_END`] | VM | nothing: the input has ended |
//! | [`OUTPUT`] | gateway | the next bytes of standard output |
//! | [`ERROR`] | gateway | the next bytes of standard error |
//! | [`FILE`] | gateway | the next bytes of the named output file, which may be none |
//! | [`PROGRESS`] | gateway | thousandths done as `u16` |

/// The gateway's UDP port of the job channel, and the VM's.
pub const PORT: u16 = 1;

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 8;

/// Place of the kind in the header.
pub const KIND: usize = 0;

/// Place of the name length (`u16`) in the header.
pub const NAME_BYTES: usize = 2;

/// To the VM: the arguments.
pub const ARGUMENTS: u8 = 1;
/// To the VM: input bytes.
pub const INPUT: u8 = 2;
/// To the VM: the input has ended.
pub const INPUT_END: u8 = 3;
/// To the gateway: standard output.
pub const OUTPUT: u8 = 16;
/// To the gateway: standard error.
pub const ERROR: u8 = 17;
/// To the gateway: a named output file.
pub const FILE: u8 = 18;
/// To the gateway: progress.
pub const PROGRESS: u8 = 19;

/// Bytes of the Ethernet, IPv4 and UDP headers before a message.
pub const UDP_HEADERS_BYTES: usize = 14 + 20 + 8;

/// Longest message, header included, in bytes.
pub const MESSAGE_BYTES_MAX: usize = crate::ring::FRAME_BYTES_MAX - UDP_HEADERS_BYTES;
