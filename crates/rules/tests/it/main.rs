//! Patterns against the shared benchmark inputs.

mod city_lots;
