"""Convolutional networks in blocked layouts: own kernels, from the graph down to the register tile.

    read (graph.py) -> group with epilogues (groups.py) -> one kernel per group (families/) -> rewrite (rewrite.py)

A blocked tensor of C channels is stored as [N][ceil(C / lanes)][H][W][lanes]; what the lanes beyond C hold is never
read. What these families do not cover stays in NCHW and goes TVM's way, with conversions between.
"""
