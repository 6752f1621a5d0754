"""What a network would predict if training were linear: ridge regression on its tangent kernel, 30 % wrong labels."""

import torch
from sklearn.datasets import load_digits

from selfdistill import noise
from selfdistill.ntk import NTK

torch.manual_seed(0)
images, truth = load_digits(return_X_y=True)
x, truth = torch.tensor(images / 16), torch.tensor(truth)
train, test = slice(0, 600), slice(600, None)
given = noise.draw(truth[train], noise.symmetric(10, 0.3, include_clean=False), seed=0).labels

net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)).double()
kernel = NTK(net, x[train])
for ridge in (1e-6, "loo", "gcv"):
    found = kernel.predict(x[test], given, ridge)
    right = (found.outputs.argmax(1) == truth[test]).double().mean()
    print(f"ridge {found.ridge:9.2g}   test accuracy {right:.3f}   leave-one-out error {found.error:.4f}")

doubted = found.leave_one_out.argmax(1) != given  # predicted without the label itself
wrong = given != truth[train]
print(f"{wrong.sum()} labels are wrong, {doubted.sum()} are doubted, {(doubted & wrong).sum()} of them rightly")
