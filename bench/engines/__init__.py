"""What Cascade does for a real engine: vLLM on this machine's processors, with Cascade, alone, and with its
peers.

`systems/` holds what is compared, one system a file behind one interface. `measure/` holds what is measured,
one measurement a file; its docstring defines its figures. `stage.py` has systems serve side by side,
`__main__.py` is the order of a run. Servers, nodes and models are those of the tests of engines
(`tests/python/engines/harness`).
"""
