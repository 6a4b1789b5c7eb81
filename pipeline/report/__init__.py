"""What people look at: the HTML report and the styles that a GIS opens our files with."""
