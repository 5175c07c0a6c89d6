"""How the rank of a layer's output depends on its width ratio and its function (section 3)."""
