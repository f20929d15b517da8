"""What programs call: `fit`, `load`, the trained network, and an estimator of scikit-learn."""
