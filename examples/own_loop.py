"""Your own training loop with a DataLoader, robust to wrong labels, on digits with 40 % of the labels wrong."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from selfdistill import RobustTargets, noise, with_index

torch.manual_seed(0)
x, truth = (torch.tensor(part) for part in load_digits(return_X_y=True))
y = noise.draw(truth, noise.symmetric(10, 0.4, include_clean=False), seed=0).labels
net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
loader = DataLoader(with_index(TensorDataset(x.float() / 16, y)), 64, shuffle=True)
robust = RobustTargets(y, num_classes=10)
for _ in range(30):
    for inputs, labels, index in loader:
        optimizer.zero_grad()
        robust.loss(index, net(inputs), labels).backward()
        optimizer.step()
    robust.end_epoch()
found = robust.label_issues().refined_label.to_numpy()
print(f"given labels right   {(y == truth).float().mean():.3f}")
print(f"refined labels right {(found == truth.numpy()).mean():.3f}")
