"""How long compiling takes: growth with the policy, and policies drawn at random."""
