//! The registry of engines on a real server: several hosts change and follow it, components come and go, and what was pushed is compiled
//! before anybody needs it.

mod ahead;
mod components;
mod hosts;
mod shared;
