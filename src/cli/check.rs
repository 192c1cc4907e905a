//! `sigmux check`: what would listen where.

use std::io::{self, Write};

use crate::config::Settings;

/// One line for each address, then one for each warning.
pub(super) fn report(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let mut rows = Vec::new();
    for listener in &settings.listeners {
        let serves: Vec<_> = listener.serves.iter().map(|service| service.name()).collect();
        for address in &listener.addresses {
            let note = if address.optional { "(where the machine has IPv6)" } else { "" };
            rows.push(
                [&listener.name, &address.socket.to_string(), &serves.join(", "), note].map(str::to_owned),
            );
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];

    writeln!(out, "{}: ok", settings.origin)?;
    for [name, address, serves, note] in &rows {
        let row = format!("{name:0$}  {address:1$}  {serves:2$}  {note}", widths[0], widths[1], widths[2]);
        writeln!(out, "{}", row.trim_end())?;
    }
    for warning in &settings.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}
