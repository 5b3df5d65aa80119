//! The gridloom program: one utility's smart-meter network and SCADA.

mod area;
mod audit;
mod bill;
mod books;
mod buffer;
mod campaign;
mod capture;
mod check;
mod client;
mod config;
mod console;
mod decode;
mod delay;
mod demo;
mod display;
mod emulate;
mod failover;
mod founding;
mod headend;
mod hex;
mod incident;
mod links;
mod manage;
mod meters;
mod obis_names;
mod order;
mod pki;
mod powerflow;
mod profiles;
mod quarantine;
mod read;
mod security;
mod serve;
mod show;
mod signals;
mod sim;
mod sms;
mod snapshot;
mod table;
mod topology;
mod transport;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs an electricity utility's smart-meter network.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a small utility with all five layers on this machine
    Demo(demo::Demo),
    /// Checks the audit log
    Audit(audit::Audit),
    /// Prints bills from a data directory
    Bill(bill::Bill),
    /// Brings firmware to meters through a running head-end
    Campaign(Box<campaign::Campaign>),
    /// Accounts for every reading in a data directory
    Check(check::Check),
    /// Looks at the configuration
    Config(config::ConfigCommand),
    /// Takes a DLMS frame apart
    Decode(decode::Decode),
    /// Shows a meter's scrolling display in the terminal
    Display(display::Display),
    /// Emulates a field device for other programs
    Emulate(emulate::Emulate),
    /// Shows how a head-end pair stands, and drills a take-over
    Failover(failover::Failover),
    /// Lists what an edge finds odd, and shows the evidence
    Incident(incident::Incident),
    /// Registers meters, shows them, and takes them out of service
    Meters(Box<meters::Meters>),
    /// Orders meters something through a running head-end
    Order(Box<order::Order>),
    /// Issues certificates for the utility's nodes, and takes them back
    Pki(pki::Pki),
    /// Lists readings that an edge holds back, and releases or rejects them
    Quarantine(quarantine::Quarantine),
    /// Solves the power flow of a distribution feeder
    Powerflow(powerflow::PowerFlowCommand),
    /// Reads any object of any DLMS meter
    Read(Box<read::Read>),
    /// Writes an attribute of a DLMS meter
    Write(Box<manage::Write>),
    /// Invokes a method of a DLMS meter
    Invoke(Box<manage::Invoke>),
    /// Switches a meter's supply on
    Connect(Box<manage::Supply>),
    /// Switches a meter's supply off
    Disconnect(Box<manage::Supply>),
    /// Sets a meter's clock to the time here
    SyncClock(Box<manage::SyncClock>),
    /// Follows a meter's event logs and notifications
    CaptureEvents(Box<capture::CaptureEvents>),
    /// Runs a utility and its head-end for the registered meters
    Serve(Box<serve::Serve>),
    /// Runs the same nodes in virtual time
    Sim(sim::Sim),
    /// Sends and lists short messages through a GSM modem
    Sms(sms::Sms),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Logs go to standard error; RUST_LOG chooses how much.
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut out = std::io::stdout();
    let result = match cli.command {
        Command::Demo(command) => command.run(&mut out),
        Command::Audit(command) => command.run(&mut out),
        Command::Bill(command) => command.run(&mut out),
        Command::Campaign(command) => command.run(&mut out),
        Command::Check(command) => command.run(&mut out),
        Command::Config(command) => command.run(&mut out),
        Command::Decode(command) => command.run(&mut out),
        Command::Display(command) => command.run(&mut out),
        Command::Emulate(command) => command.run(&mut out),
        Command::Failover(command) => command.run(&mut out),
        Command::Incident(command) => command.run(&mut out),
        Command::Meters(command) => command.run(&mut out),
        Command::Order(command) => command.run(&mut out),
        Command::Pki(command) => command.run(&mut out),
        Command::Quarantine(command) => command.run(&mut out),
        Command::Powerflow(command) => command.run(&mut out),
        Command::Read(command) => command.run(&mut out),
        Command::Write(command) => command.run(&mut out),
        Command::Invoke(command) => command.run(&mut out),
        Command::Connect(command) => command.run(manage::Switch::On, &mut out),
        Command::Disconnect(command) => command.run(manage::Switch::Off, &mut out),
        Command::SyncClock(command) => command.run(&mut out),
        Command::CaptureEvents(command) => command.run(&mut out),
        Command::Serve(command) => command.run(&mut out),
        Command::Sim(command) => command.run(&mut out),
        Command::Sms(command) => command.run(&mut out),
    };
    let flushed = out.flush();
    match result {
        Ok(()) => match flushed {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        // A reader that went away (`gridloom … | head`) is no fault of ours.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gridloom: {error:#}");
            if error.is::<usage::UsageError>() {
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
