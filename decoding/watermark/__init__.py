"""Watermarks in drawn tokens: KGW's green lists with their detector, and SynthID's tournaments."""
