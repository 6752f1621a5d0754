"""Your own training loop: noise, a target and a loss, one by one, on digits with 40 % of the labels wrong."""

import torch
from sklearn.datasets import load_digits

from selfdistill import losses, noise, targets

EPOCHS, BATCH = 40, 64
torch.manual_seed(0)
images, truth = load_digits(return_X_y=True)
x, truth = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(truth)
order = torch.randperm(len(x))
train, test = order[:1400], order[1400:]

T = noise.symmetric(10, 0.4, include_clean=False)
given = noise.draw(truth[train], T, seed=0)
memory = targets.Memory(given.labels, 10, epochs=EPOCHS, hardness=lambda progress: progress)

net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
for _ in range(EPOCHS):
    for index in torch.randperm(len(train)).split(BATCH):
        logits = net(x[train[index]])
        loss = losses.cross_entropy(logits, memory.read(index)).mean()  # match the target,
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        memory.write(index, logits.detach().softmax(-1))  # write down what the network thinks,
    memory.end_epoch()  # and let the targets learn from it

refined = memory.refined().argmax(-1)
print(f"given labels right    {1 - given.realised_rate:.3f}")
print(f"refined labels right  {(refined == truth[train]).float().mean():.3f}")
print(f"test accuracy         {(net(x[test]).argmax(-1) == truth[test]).float().mean():.3f}")
