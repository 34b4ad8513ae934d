"""Every kernel on a GPU, checked against references and timed beside its peers.

``python -m bench cuda --pack FOLDER`` compiles, without a GPU, and writes a folder that needs
nothing but NumPy and PyTorch (with cuda-bindings, which it brings) on the machine with the GPU:
``python FOLDER/run.py``. Where both are at hand, ``python -m bench cuda --check`` does all at once.
"""
