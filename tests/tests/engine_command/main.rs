//! `pilothouse engine`: what authors of engines are given. Components are examined, projects are made and built, all with the real tools.

mod check;
mod conformance;
mod new;
mod program;

pub(crate) use pilothouse_tests::guest;
