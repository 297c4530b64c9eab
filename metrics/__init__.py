"""Every metric, declared once, and how it is rendered for a scrape."""
