//! One connection: which clients are associated over it, and what answers each of their APDUs.

use std::sync::Arc;

use super::config::ServerConfig;
use super::device::LogicalDevice;
use super::security::DeviceSecurity;
use crate::apdu::{ExceptionResponse, ServiceError, StateError};

/// One connection's associations, by client SAP.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    open: Vec<u16>,
}

impl Server {
    /// A connection that nobody is associated over.
    ///
    /// # Panics
    ///
    /// If the configuration breaks its own bounds.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        config.check();
        Self {
            config,
            open: Vec::new(),
        }
    }

    /// Takes one whole APDU from client SAP `client`, and returns the answer if one is due.
    /// `entropy` fills challenges.
    pub fn handle_apdu(
        &mut self,
        client: u16,
        apdu: &[u8],
        device: &mut dyn LogicalDevice,
        security: &mut DeviceSecurity,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Vec<u8>> {
        let _ = (client, device, security, entropy);
        let service = if apdu.len() > usize::from(self.config.max_pdu) {
            ServiceError::PduTooLong
        } else {
            ServiceError::ServiceNotSupported
        };
        let mut answer = Vec::new();
        ExceptionResponse {
            state: StateError::ServiceNotAllowed,
            service,
        }
        .encode(&mut answer);
        Some(answer)
    }

    /// The connection is gone, and every association with it.
    pub fn disconnected(&mut self) {
        self.open = Vec::new();
    }

    /// Whether a client's association stands, all proofs given.
    pub fn is_associated(&self, client: u16) -> bool {
        self.open.contains(&client)
    }
}
