//! The terminal while it is watched: a screen of its own, and as it was before in any case.

use super::text::Line;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal, Read, Write};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Another screen, without a cursor (XTerm Control Sequences, DECSET 1049 and DECTCEM).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";

/// The screen and the cursor as they were.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A screen of a terminal nobody knows the size of.
const SIZE: (usize, usize) = (80, 24);

/// Something that a person did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Press {
    /// It is enough.
    Quit,
    /// The terminal has another size.
    Resized,
}

/// The terminal's other screen. The first one is back when this is dropped.
pub(super) struct Screen {
    /// How the terminal treated keys before.
    modes: Option<Termios>,
    keys: mpsc::UnboundedReceiver<u8>,
    resized: Signal,
}

impl Screen {
    /// Changes to it.
    pub(super) fn enter() -> io::Result<Self> {
        let resized = signal(SignalKind::window_change())?;
        let (send, keys) = mpsc::unbounded_channel();
        let stdin = io::stdin();
        let modes = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
        // Before the screen: dropped on an error from here on.
        let screen = Self { modes: modes.clone(), keys, resized };
        if let Some(mut modes) = modes {
            // Keys come one by one, and are not shown. Ctrl-C stays a signal.
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            tcsetattr(&stdin, OptionalActions::Now, &modes)?;
            // Ends with the process: nothing else wakes who reads a terminal.
            std::thread::spawn(move || {
                for key in io::stdin().lock().bytes().map_while(Result::ok) {
                    if send.send(key).is_err() {
                        break;
                    }
                }
            });
        }
        put(ENTER)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => SIZE,
        }
    }

    /// Draws all lines over what was there.
    pub(super) fn draw(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let (width, height) = self.size();
        let lines: Vec<_> = lines.iter().take(height).map(|line| line.coloured(width) + "\x1b[K").collect();
        // At once, where the terminal knows how (mode 2026); what is below the last line goes.
        let text = format!("\x1b[?2026h\x1b[H{}\x1b[J\x1b[?2026l", lines.join("\r\n"));
        put(&text).map_err(crate::cli::failure::writing)
    }

    /// Waits for a person to do something that matters.
    pub(super) async fn press(&mut self) -> Press {
        loop {
            tokio::select! {
                Some(key) = self.keys.recv() => if matches!(key, b'q' | b'Q') { return Press::Quit },
                Some(()) = self.resized.recv() => return Press::Resized,
                else => std::future::pending().await,
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Fails only for a terminal that is gone.
        let _ = put(LEAVE);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
