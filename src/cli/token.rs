//! `sigmux token`: a JWT for one client.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::auth::{self, Credentials};
use crate::config::Settings;
use crate::dialect::binary::is_client_id;

/// The token, or why there is none. A note goes to `err` where this server would not take it.
pub(super) fn mint(settings: &Settings, client_id: &str, err: &mut impl Write) -> Result<String, String> {
    if !is_client_id(client_id) {
        return Err("a client id has 1 to 255 bytes and no control characters".to_owned());
    }
    let auth = &settings.auth;
    let Some(secret) = &auth.token_secret else {
        return Err(format!(
            "{}: `token_secret` is missing from [auth]; it signs the token. \
             Set it there or in SIGMUX_AUTH_TOKEN_SECRET",
            settings.origin
        ));
    };
    if !matches!(auth.credentials, Credentials::Jwt { .. }) {
        // Only a note: without it the token is as good.
        let _ = writeln!(
            err,
            "sigmux: note: `auth_method` is not \"jwt\" in {}, so a server with it does not take this token",
            settings.origin
        );
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock stands before 1970")?;
    Ok(auth::mint(secret, client_id, now.as_secs(), auth.token_expiry.as_secs()))
}
