"""A local Doppler Relay over real HTTP: it keeps what it accepted, shows it in an inbox, and fails on request."""
