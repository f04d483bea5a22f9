"""What alerts are: rules, conditions, states, and what keeps them quiet. Values in, values out."""
