//! `gridloom display`: a meter's scrolling display in the terminal, from a running utility.

use std::io::{IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gridloom_field::display;
use serde::Deserialize;

/// Shows a meter's scrolling display in the terminal
#[derive(clap::Args)]
pub(crate) struct Display {
    /// House, such as h1
    #[arg(long, default_value = "h1")]
    house: String,
    /// Console address of the running utility
    #[arg(long, default_value = "127.0.0.1:8790")]
    console: String,
    /// Print every page once and stop
    #[arg(long)]
    once: bool,
}

#[derive(Deserialize)]
struct House {
    name: String,
    display: Vec<Page>,
}

#[derive(Deserialize)]
struct Page {
    code: String,
    label: String,
    value: String,
    unit: String,
}

/// How long the console may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The longest answer that is read: a house has a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

impl Display {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let scrolls = !self.once && std::io::stdout().is_terminal();
        let mut page = 0;
        let mut shown = 0;
        loop {
            let house = self.fetch()?;
            ensure!(
                !house.display.is_empty(),
                "{}: this meter shows nothing yet; try again in a moment",
                self.house
            );
            if !scrolls {
                writeln!(out, "{}", house.name)?;
                for page in &house.display {
                    writeln!(out, "{}", page.render())?;
                }
                return Ok(());
            }
            // Redrawn in place: as many lines up as were drawn before.
            let frame = house.display[page % house.display.len()].render();
            if shown > 0 {
                write!(out, "\x1b[{shown}A\x1b[J")?;
            }
            writeln!(out, "{}\n{frame}", house.name)?;
            out.flush()?;
            shown = frame.lines().count() + 1;
            page += 1;
            std::thread::sleep(display::PAGE_TIME);
        }
    }

    /// One GET over a fresh connection; the console closes it after the answer.
    fn fetch(&self) -> anyhow::Result<House> {
        let unreachable = || {
            format!(
                "no console at {}: start `gridloom demo`, or name its address with --console",
                self.console
            )
        };
        let address = self
            .console
            .to_socket_addrs()
            .with_context(unreachable)?
            .next()
            .with_context(unreachable)?;
        let mut stream =
            TcpStream::connect_timeout(&address, ANSWER_MAX).with_context(unreachable)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        ensure!(
            self.house.bytes().all(|b| b.is_ascii_alphanumeric()),
            "--house {:?}: give an id such as h1",
            self.house
        );
        write!(
            stream,
            "GET /api/v1/houses/{} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
            self.house
        )?;
        let mut answer = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .context("the console did not answer in time")?;
        let answer = String::from_utf8(answer).context("the console's answer is not text")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("the console's answer is not HTTP")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        match status {
            "200" => serde_json::from_str(body).context("the console's answer is not a house"),
            "404" => bail!("there is no house {}", self.house),
            other => bail!("the console answers {other}: {body}"),
        }
    }
}

impl Page {
    fn render(&self) -> String {
        display::render_parts(&self.code, &self.label, &self.value, &self.unit)
    }
}
