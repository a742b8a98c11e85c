"""The pages of the console; each module installs its own."""
