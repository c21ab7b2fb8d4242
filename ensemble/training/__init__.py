"""Train one member. The modules in the order of the story:

1. ``plan`` resolves and checks all settings before anything is written; ``reuse`` finds what is trained already.
2. ``train`` locks the directory of the member, trains every fold, then predicts and scores.
3. ``member_writer`` writes the files of the member; ``length`` turns steps into epochs, ``budget`` seconds.
4. ``loop`` trains one fold, epoch by epoch.
5. ``trainer`` does one optimiser step; ``schedule`` gives its learning rate and EMA decay, ``encoder`` what is frozen.
6. ``batches`` prepares the images of an epoch.
7. ``progress_state`` and ``checkpoint`` save how far a fold is, and restore it.
8. ``predictions`` predicts the validation and test images with the trained networks.

Around the story: ``determinism`` (random states, environment), ``cost`` (speed and memory of an architecture),
``plan_again`` (the plan of a finished member), ``reproduce`` and ``same_bits`` (train it again and compare),
``distributed`` (several processes for one member).
"""
