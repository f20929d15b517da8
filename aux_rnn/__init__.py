"""Auxiliary losses for recurrent networks on very long sequences (Trinh, Dai, Luong and Le, ICML 2018)."""
