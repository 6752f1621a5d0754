#!/bin/sh
# Makes the two virtual environments of the peers in a folder outside the repository:
#     sh benchmarks/ntk_peers/environments.sh FOLDER [PYTHON]
# neural-tangents imports jax2tf, so it needs tensorflow too (2.6 GB in all). nngeometry gets torch of its own.
set -eu
folder=$1
python=${2:-python3}
"$python" -m venv "$folder/neural-tangents"
"$folder/neural-tangents/bin/python" -m pip install -q "jax==0.4.23" "jaxlib==0.4.23" "numpy<2" "scipy<1.13" \
    "neural-tangents==0.6.5" "tf2jax==0.3.5"
"$folder/neural-tangents/bin/python" -c "import neural_tangents"
"$python" -m venv "$folder/nngeometry"
"$folder/nngeometry/bin/python" -m pip install -q "torch==2.13.0" numpy
"$folder/nngeometry/bin/python" -m pip install -q --no-deps "nngeometry==0.4"
"$folder/nngeometry/bin/python" -c "import nngeometry"
