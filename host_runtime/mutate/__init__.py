"""Mutation: are the tests good enough to notice a fault that is put into the sources (``ianus mutate``)?"""
