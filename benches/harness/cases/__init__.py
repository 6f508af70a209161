"""What is measured; each module has ABOUT, PROGRAMS (what it needs), PARTS and run(bench) → (sections, notes)."""
