//! `denali top`: what a node does, again and again in place, or once, or as JSON.

mod json;
mod rates;
mod screen;
mod text;
mod view;

use super::{
    connect::{self, Connected},
    print,
    runtime::{Interrupt, block_on},
    units,
};
use denali_protocol::wire::top::Top;
use rates::History;
use screen::{Press, Screen};
use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

/// What may be between two looks. A node closes a connection that asks nothing for a minute.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

/// The width of a view that no terminal shows.
const WIDTH: usize = 100;

/// Watch what a node does: VMs, CPU time by client, memory, starts, latencies.
///
/// On a terminal it is redrawn in place until q or Ctrl-C; on a pipe it is printed once. A client sees the sums and its own
/// share. An operator sees all clients: one that the node's policy lists under `operators`, or the volunteer with the
/// node's own key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  denali top --node 127.0.0.1:4900\n  \
    denali top --node 127.0.0.1:4900 --key /var/lib/denali/node.key --json --interval 10s")]
pub(crate) struct Args {
    #[command(flatten)]
    connect: connect::NodeArgs,
    /// Print one line of JSON each time.
    #[arg(long)]
    json: bool,
    /// Print it once and end.
    #[arg(long)]
    once: bool,
    /// Time between two looks, 100ms to 30s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text)?;
    if INTERVALS.contains(&interval) { Ok(interval) } else { Err("expected 100ms to 30s".to_owned()) }
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let connected = connect::connect(&args.connect).await?;
        let shown = if args.json {
            as_json(args, &connected).await
        } else if args.once || !io::stdout().is_terminal() {
            once(&connected).await
        } else {
            watch(args, &connected).await
        };
        connected.session.close().await;
        shown.map(|()| ExitCode::SUCCESS)
    })
}

async fn look(connected: &Connected) -> anyhow::Result<Box<Top>> {
    Ok(connected.session.top().await?)
}

async fn as_json(args: &Args, connected: &Connected) -> anyhow::Result<()> {
    let mut interrupt = Interrupt::catch()?;
    let mut ticks = ticks(args.interval);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = interrupt.next() => return Ok(()),
        }
        print::json(&json::Line::new(connected.target.node, &*look(connected).await?))?;
        if args.once {
            return Ok(());
        }
    }
}

async fn once(connected: &Connected) -> anyhow::Result<()> {
    let mut history = History::default();
    history.push(*look(connected).await?);
    for line in view::lines(&title(connected), connected.key.public(), &history, WIDTH, usize::MAX) {
        print::line(line.plain())?;
    }
    Ok(())
}

async fn watch(args: &Args, connected: &Connected) -> anyhow::Result<()> {
    let (mut interrupt, mut history) = (Interrupt::catch()?, History::default());
    history.push(*look(connected).await?);
    let mut screen = Screen::enter()?;
    let mut ticks = ticks(args.interval);
    ticks.tick().await;
    loop {
        let (width, height) = screen.size();
        screen.draw(&view::lines(&title(connected), connected.key.public(), &history, width, height))?;
        tokio::select! {
            _ = ticks.tick() => history.push(*look(connected).await?),
            press = screen.press() => match press {
                Press::Quit => return Ok(()),
                // Drawn again, on the size that it is now.
                Press::Resized => {}
            },
            () = interrupt.next() => return Ok(()),
        }
    }
}

fn ticks(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Which node it is.
fn title(connected: &Connected) -> String {
    format!("{}@{}", connected.target.node.short(), connected.target.address)
}
