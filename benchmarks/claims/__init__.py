"""The claims of Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255, each as an experiment with a number and a verdict."""
