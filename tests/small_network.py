"""Settings of a network that `aux_rnn.fit` trains in seconds on two dozen sequences of six steps."""

SMALL_NETWORK = dict(embedding_size=3, hidden_size=4, head_sizes=(4,), decoder_sizes=(4,), decoder_head_sizes=(4,))
SMALL_NETWORK |= dict(segment_length=3, supervised_truncation=3, auxiliary_truncation=2, batch_size=8, train_epochs=1)
