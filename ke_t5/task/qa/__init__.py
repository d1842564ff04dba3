"""Questions answered from passages: windows, layouts, answers."""
