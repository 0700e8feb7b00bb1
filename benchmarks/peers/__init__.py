"""edgecls beside other inference engines, on the machine at hand and in one interleaved session."""
