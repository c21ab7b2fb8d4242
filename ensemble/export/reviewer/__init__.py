"""The program in a reviewer's pack; it shares no code with what it checks."""
