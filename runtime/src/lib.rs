//! The MoE runtime.
