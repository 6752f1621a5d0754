"""Images as arrays: find the wrong labels, keep the rest of your pipeline as it is."""

import numpy as np
from sklearn.datasets import load_digits

from selfdistill import data, issues, train

digits = load_digits()
rng = np.random.default_rng(0)
flipped = rng.random(len(digits.target)) < 0.1
given = np.where(flipped, (digits.target + rng.integers(1, 10, len(flipped))) % 10, digits.target)

found = data.from_arrays(digits.images, given, truth=digits.target)
settings = train.Settings(network="mlp:128", epochs=30).resolve(len(found), train.resolve_device("auto"))
fitted = train.fit(found, settings)
table = issues.label_table(fitted.targets.refined(), fitted.dynamics, counts=fitted.counts)
rightly = (table.is_issue & flipped).sum()
print(f"{flipped.sum()} labels are wrong, {table.is_issue.sum()} are flagged, {rightly} of them rightly")
print("the ten most doubtful:", np.argsort(table.quality)[:10].tolist())
