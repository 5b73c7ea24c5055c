"""Models of the vision application: bodies and heads, XResNet, the dynamic U-Net, weights."""
