"""Block-wise search: paths through a block, their rating without labels, the network put together from them."""
