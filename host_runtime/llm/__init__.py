"""Language models on PIM memory: GPT-2 on injected linear layers, and its perplexity.

checkpoint, config   a Hugging Face GPT-2 directory
tokenizer            text to tokens and back
gpt2, layers, cache  the model
perplexity           its evaluation
embedded             a small model and endless text of exactly known entropy, for use without any download
synthetic            random checkpoints of any shape
"""
