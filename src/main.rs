use std::process::ExitCode;

fn main() -> ExitCode {
    sigmux::cli::main()
}
