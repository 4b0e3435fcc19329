"""Pretraining: a backbone from random weights on a whole database, and what comes out of it."""
