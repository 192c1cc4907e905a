//! How this process asks others by HTTP.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::AgentScope;

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// `timeout` is for the whole of one request with its answer.
pub(super) fn config(https_only: bool, timeout: Duration) -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::WebPki)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .https_only(https_only)
        // The environment is the configuration's to read.
        .proxy(None)
        .max_response_header_size(HEAD_BYTES_MAX)
        .timeout_global(Some(timeout))
}
