"""What a user programs against: transports, driver, tensors, operators, language models."""
