"""What a network learns first: its tangent kernel on digits with 40 % wrong labels, signal and noise side by side."""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import one_hot

from selfdistill import air, noise
from selfdistill.ntk import NTK

torch.manual_seed(0)
images, truth = load_digits(return_X_y=True)
x, truth = torch.tensor(images[:600] / 16, dtype=torch.float32), torch.tensor(truth[:600])
T = noise.symmetric(10, 0.4, include_clean=False)
given = noise.draw(truth, T, seed=0).labels

net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
kernel = NTK(net, x, output="trace")
print(kernel.plan)  # what it will cost
spectrum = kernel.eigh()

right, labels = (one_hot(z, 10).double() for z in (truth, given))
clean = right - right.mean(0)  # what a constant explains is no information
wrong = air.noise_part(given, truth, 10)
print("\nleading directions   true labels   noise")
for k in (10, 50, 200):
    shares = [float(air.captured(spectrum, z, [k])) for z in (clean, wrong)]
    print(f"{k:18}   {shares[0]:11.1%}   {shares[1]:5.1%}")

rates = air.per_step(spectrum, 10)  # kernel time = learning rate x steps of cross-entropy
flow = air.Flow(rates, labels)
stop = air.stopping_time(flow, flow.times(60), given, "gcv")
print(f"\nstop at learning rate x steps = {stop.time:.0f}, estimated from the noisy labels alone")
