"""The report's pictures: plain numbers in, one SVG string out; no pyplot, no state kept between."""
