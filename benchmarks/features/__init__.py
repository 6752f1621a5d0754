"""Classifiers on fixed features: data sets, wrong labels, rivals, and what each of them finds."""
