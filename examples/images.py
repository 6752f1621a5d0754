"""Images as arrays: find the wrong labels, keep the rest of your pipeline as it is."""

import numpy as np
from sklearn.datasets import load_digits

from selfdistill import SelfDistillClassifier

digits = load_digits()
rng = np.random.default_rng(0)
flipped = rng.random(len(digits.target)) < 0.1
given = np.where(flipped, (digits.target + rng.integers(1, 10, len(flipped))) % 10, digits.target)

classifier = SelfDistillClassifier(method="selfdistill", network="mlp:128", epochs=30).fit(digits.images, given)
issues = classifier.get_label_issues()
flagged = issues["is_label_issue"].to_numpy()
print(f"{flipped.sum()} labels are wrong, {flagged.sum()} are flagged, {(flagged & flipped).sum()} of them rightly")
print("the ten most doubtful:", issues.sort_values("label_quality").index[:10].tolist())
