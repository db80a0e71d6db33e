"""Problems with solutions become labelled examples: sources, mutation, noise, labels by execution."""
